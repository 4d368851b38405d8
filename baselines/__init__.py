"""The baseline policies, one scoring rule a file.

Each rule fills ``scores[:size]`` for the queue it is given; the least score runs next. `Queue` in
`dysta_gym.Queue` says what the columns are. The formulas use ``R`` for the estimated remaining
latency, ``N`` for that of the next layer, ``I`` for the isolated one, ``S = deadline - now`` for
the time to the deadline, ``W = now - last_run`` for the waiting time, ``Q`` for the queue's size.
"""
