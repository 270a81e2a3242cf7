"""The seam with PostgreSQL: the pool, its errors, statements by name.

Every folder may import it.
"""
