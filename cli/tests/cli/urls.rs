//! URLs are no paths: nothing takes `s3://bucket/key` for a folder `s3:` in the current one.

use super::*;

#[test]
#[cfg(not(feature = "cloud"))]
fn a_build_without_buckets_says_so() {
    let folder = fitted();
    folder.good("fit --source text.npy --target image.npy --out S.st --device host");
    for command in [
        "stats s3://bucket/x.npy --out out.st",
        "stats text.npy --out s3://bucket/out.st",
        "stats s3://bucket/folder/ --out out.st",
        "fit --source s3://bucket/*.npy --target image.npy --out out.st",
        "fit --source text.npy --target https://host/x.npy --out out.st",
        "fit --source text.npy --target image.npy --out s3://bucket/S.st",
        "apply text.npy --stats s3://bucket/S.st --out out.npy",
        "apply text.npy --stats S.st --out s3://bucket/out.npy",
        "apply text.npy --stats S.st --out s3://bucket/out/",
        "measure --source s3://bucket/a.npy --target image.npy",
        "measure --source text.npy --target image.npy --html s3://bucket/page.html",
        "compare --source text.npy --target s3://bucket/a.npy",
        "merge --out out.st s3://bucket/1.st s3://bucket/2.st",
        "merge --out s3://bucket/out.st S.st S.st",
        "rank fit --collection text=s3://bucket/a.npy --collection image=image.npy --out R.st",
        "info s3://bucket/S.st",
    ] {
        // Which leaves every file as it was, and makes no folder.
        folder.bad(1, command, &["feature `cloud`", "://"]);
    }
}

#[test]
fn what_must_be_on_a_disk_says_so() {
    let folder = fitted();
    folder.put("texts.jsonl", b"{\"id\": \"a\", \"text\": \"a cat\"}\n");
    for command in [
        "measure --source text.npy --target image.npy --svg-dir s3://bucket/charts",
        "embed --model s3://bucket/clip --texts texts.jsonl --out out.npy",
        "demo --quick --out s3://bucket/demo",
        "generate --model s3://bucket/llm --prompt hello",
        "export --model s3://bucket/llm --out out.gguf",
        "export --model llm --out s3://bucket/out.gguf",
    ] {
        folder.bad(1, command, &["on this machine's disk", "s3://bucket/"]);
    }
}
