"""`reftide up`: embedded servers, edges and workers under one supervisor."""
