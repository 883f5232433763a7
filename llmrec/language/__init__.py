"""The language model's side: load, adapt, pre-train, tune, and read prompts with branches."""

import logging

# PEFT imports bitsandbytes wherever it is installed. In 0.50 that recommends a package on import, and in 8 bits logs a
# line a layer and pass; there is nothing that a user of llmrec should do about either. Its errors still show.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
