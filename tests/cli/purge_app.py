"""The shop, with an endpoint that takes purge orders."""

import os

from cachemw import open_store
from cachemw.caching.endpoint import PurgeEndpoint
from tests.inspection.shop import shop

app = shop(open_store(os.environ["SHOP_STORE"] + "?deadline=2s"))
endpoint = PurgeEndpoint(app.state.cachemw.cache, keys={"ci": "s" * 32})
app.add_route("/purge", endpoint)  # type: ignore[arg-type]
