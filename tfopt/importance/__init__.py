"""How much a channel matters, and how to make up for one that is gone.

`scores` picks one of the kinds: `weights` reads it off the weights, `data` measures it on data.
`votes` adds up what several layers say; `reconstruction` refits the layers behind.
"""
