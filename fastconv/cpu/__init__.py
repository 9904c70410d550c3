"""The CPU engine: a small code generator and the drivers that spread its tiles over threads."""
