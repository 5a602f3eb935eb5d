"""Echo: the C10k conversation at /test/, a form beside it, and raw echo at /echo/."""
