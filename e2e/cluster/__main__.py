"""The command line: python -m e2e.cluster COMMAND."""

import sys

from .cluster import down, status, up

if __name__=="__main__":
    n = sys.argv[2] if len(sys.argv)>2 else "llmcache"
    print({"up":up,"down":down,"status":status}[sys.argv[1]](n))
