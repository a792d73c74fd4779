# What the other modules share.  Each takes a text.

# Parts between white space, as Python's str.split() has it.  (Matching all over a text takes jq 1.6 quadratic time.)
def words:
  if test("[^\\S \\n\\t\\r]|[\\x1c-\\x1f]") then [scan("[^\\s\\x1c-\\x1f]+")]
  else [split(" ")[] | split("\n")[] | split("\t")[] | split("\r")[] | select(. != "")] end;

# Whether it holds s.  (contains/1 of jq 1.6 stops at a NUL, which a model may well write.)
def holds($s): $s == "" or (split($s) | length > 1);
def without($s): split($s) | join("");
def strip: sub("^[\\s\\x1c-\\x1f]+"; "") | sub("[\\s\\x1c-\\x1f]+$"; "");

def indicator: if . then 1 else 0 end;
