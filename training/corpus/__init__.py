"""The text that the demo model learns from, written by this project."""
