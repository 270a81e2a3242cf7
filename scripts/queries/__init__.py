"""Statements of the commands, in `.sql` files beside this one."""

from functools import partial

from workers import sql

statements = partial(sql.statements, package="scripts")
