// Loaded before all tests. A slow machine is no failure: `timeout` around the whole run is the limit.

import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(60_000);
