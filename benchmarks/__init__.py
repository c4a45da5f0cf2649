"""How fast cfai is, beside what it could be compared with. See README.md."""
