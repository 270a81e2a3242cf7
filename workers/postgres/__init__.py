"""Access to PostgreSQL: the pool, its errors, statements by name.

Every folder may import it.
"""
