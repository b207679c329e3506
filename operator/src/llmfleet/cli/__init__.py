"""Commands for people and for make; each is a thin shell over the packages below."""
