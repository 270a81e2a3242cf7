-- key: the secret key of e-mail addresses
select key from email_key
