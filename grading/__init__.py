"""Grading untrusted notebooks: what ``python -m grading`` is made of.

Three kinds of process. The *runner* (``__main__``) reads submissions as data and runs none of their
code. Each of its *servers* (``server``) imports the libraries and checks once, then forks a *child*
(``child``) for each submission, watches it, and kills whatever it leaves behind. A server runs one
child at a time: if a server dies, it is known which submission did it, and the next one gets
a new server.
"""
