"""E-mail addresses at rest: edges and workers share the key and how it is used."""
