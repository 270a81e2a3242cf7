"""The console: pages for operators, in a process of its own.

Pages are rendered here and work without script; a page's `live` part is fetched again every
two seconds. What tabs show comes from one sampler, so that twenty cost what one costs. Acts
are the functions that commands call, and leave a row in `operations`.
"""
