"""When requests arrive: one process a module, its schema beside the code that draws from it."""
