"""Sixteen prompts written for this project's figures: code, arithmetic, explanation, rewriting, chat."""

PROMPTS = (
    "Write a Python function that merges two sorted lists into one sorted list, with a docstring.",
    "Write a Python class for a stack with push, pop and peek, and show how it is used.",
    "Implement binary search in Go and explain each step in a comment.",
    "Write a SQL query that finds the three customers with the highest total of orders per country.",
    "Fix this function and explain the bug:\n\ndef mean(xs):\n    total = 0\n    for x in xs:\n"
    "        total = x\n    return total / len(xs)",
    "Write a unit test in pytest for a function `slugify(title)` that makes URL slugs.",
    "A train leaves at 9:40 and arrives at 13:05. How long does it travel? Show your steps.",
    "A shop sells pens at 3 for 2 dollars. How much do 27 pens cost? Reason step by step.",
    "Explain to a beginner what a hash table is and when it is slow.",
    "Explain the difference between a process and a thread in operating systems.",
    "Summarise in three bullet points: Caches keep copies of data close to where it is used. They make "
    "reading fast as long as most reads find their data there. When the original changes, copies must be "
    "updated or thrown away, and doing that at the right time is the hard part.",
    "Rewrite this to be shorter and friendlier: We hereby inform you that your request has been received "
    "and will be processed by the responsible department in due course.",
    "Convert this JSON to YAML:\n"
    '{"name": "ringroad", "roles": ["drafter", "verifier", "router"], "port": 50051, "tls": false}',
    "What are the most common mistakes people make when they write shell scripts?",
    "Tell a short story about a lighthouse keeper who finds a bottle with a map inside.",
    "Write a bash script that renames all .jpeg files in a folder to .jpg, safely.",
)
