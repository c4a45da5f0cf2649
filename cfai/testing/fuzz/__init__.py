"""Streams that parsers stumble over, every way to cut them, and what a parser makes of them."""
