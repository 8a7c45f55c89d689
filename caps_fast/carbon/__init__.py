"""Grid carbon intensity: files, traces, forecasts with an issue time, and the monitor that the scheduler sees.

Reading order: `frame` (the one schema), `formats` (other people's files), `trace` (a run's intensity), `forecast` and
`forecasters`, `monitor`.
"""
