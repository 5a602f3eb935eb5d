"""Echo: the C10k conversation at /test/, a page with forms, and raw echo at /echo/."""
