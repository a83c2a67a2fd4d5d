"""What sits on top of the metrics: recording rules, alerts and a dashboard, made from families and options.

`installation` says what one app exposes; everything else here turns that into files. Nothing here knows of requests,
and nothing runs while an app serves. The command line calls it.
"""
