"""How the demo runs gunicorn: workers with threads, and no control socket in the home directory."""

worker_class = "gthread"
threads = 8
graceful_timeout = 2
control_socket_disable = True  # otherwise gunicorn 25 and later creates one in the home directory
