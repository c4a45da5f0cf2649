from cfai.serving import Guard, is_loopback

__all__ = ["Guard", "is_loopback"]
