"""The semantic cache: questions that mean the same share an answer.

Nothing here is loaded unless a policy has it on: numpy and the vector indexes are in the extra `semantic`.
"""
