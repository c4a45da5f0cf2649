"""`cfai dev`: the process that starts, watches and ends the others. It knows no script and no model.

supervisor   what it does; processes: those that it starts; channel: what it and a worker tell each other
project      what to run; files: what of it changes; interpreter: with which Python; start: how that finds cfai
console      its lines; terminal: its keys; debugger: its port for debuggers
"""
