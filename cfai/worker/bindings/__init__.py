"""What `env` has beside AI and vars, kept on this machine.

assets     static files
"""
