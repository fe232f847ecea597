"""What a right answer to an exercise must show: one module for each exercise.

A check looks at what the student's code does, never at how it is written or what it calls itself.
"""
