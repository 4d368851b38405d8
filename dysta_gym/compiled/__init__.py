"""How code is compiled, kept and given its arrays: the only room that knows Numba's insides."""
