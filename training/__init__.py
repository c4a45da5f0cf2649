"""Trains the demo model that ships inside cfai: `python -m training`."""
