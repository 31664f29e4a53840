#!/bin/sh
# Run beside node_modules of an image: leaves out native files of other platforms and the sources they were built from.
set -eu
arch=$(node --print process.arch)
find node_modules/onnxruntime-node/bin -path '*/napi-v*/*' -type f ! -path "*/linux/$arch/*" -delete
find node_modules/better-sqlite3/prebuilds -type f ! -name "linux-$arch.node" -delete
rm -rf node_modules/better-sqlite3/deps node_modules/better-sqlite3/src
