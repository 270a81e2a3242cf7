"""Links and partners: found, shown, made and changed. Pages of the console only enter here."""
