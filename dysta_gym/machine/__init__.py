"""The accelerator: the queue, what a rule is asked, the event loops, the machine itself."""
