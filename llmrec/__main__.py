"""`python -m llmrec`, and what `accelerate launch -m llmrec` starts in every process."""

from llmrec.cli import main

if __name__ == "__main__":
    main()
