"""The shop of `tests/inspection`, on the store that CACHEMW_STORE names: what `--app` is given."""

import os

from cachemw import open_store
from tests.inspection.shop import shop

app = shop(open_store(os.environ["SHOP_STORE"]))
