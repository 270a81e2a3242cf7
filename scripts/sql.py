"""Statements of the commands, in `.sql` files beside the modules that run them."""

from functools import partial

from workers.postgres import sql

statements = partial(sql.statements, package="scripts")
