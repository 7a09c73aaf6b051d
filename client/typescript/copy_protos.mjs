// Copies the API's .proto files into the package. From a checkout, or from the folder in SANDBOXD_ROOT.
import { cpSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = process.env.SANDBOXD_ROOT ?? join(here, "../..");
for (const folder of ["proto/sandboxd/v1"]) {
  mkdirSync(join(here, folder), { recursive: true });
  cpSync(join(root, folder), join(here, folder), {
    recursive: true,
    dereference: true,
    filter: (path) => path.endsWith(".proto") || !/\.[a-z]+$/.test(path),
  });
}
