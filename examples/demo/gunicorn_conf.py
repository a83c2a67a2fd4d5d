"""How the demo runs gunicorn: one worker process with threads, and nothing written outside of it."""

workers = 1
worker_class = "gthread"
threads = 8
graceful_timeout = 2
control_socket_disable = True  # else gunicorn 25 and later makes one in the home directory
