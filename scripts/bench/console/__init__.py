"""The console, measured: its pages beside very many events, and what open tabs cost others."""
