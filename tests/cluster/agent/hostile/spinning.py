"""Burns all the CPU it gets, in more processes than the node has CPUs."""

import os

for _ in range(8):
    if os.fork() == 0:
        break
while True:
    pass
