# A small world in which a search query has to be learned: documents in the words of specialists, questions in plain words.
#
#   jq -nc --arg part corpus|train|heldout|demonstrations -f world.jq
#
# Each document is about one condition of one organ; each question asks for one of them.  Questions about one pair in four are
# held out: no question of training and no demonstration names these two words together, only each of them with others.
# Nothing is drawn at random but by draw below, which depends on its arguments alone: the world is the same everywhere.

def organs: [
  ["heart", "cardiac"], ["kidney", "renal"], ["liver", "hepatic"], ["lung", "pulmonary"], ["skin", "dermal"],
  ["bone", "osseous"], ["brain", "cerebral"], ["stomach", "gastric"], ["eye", "ocular"], ["ear", "aural"],
  ["nerve", "neural"], ["womb", "uterine"], ["gut", "enteric"], ["throat", "pharyngeal"]];
def conditions: [
  ["swelling", "edema"], ["bleeding", "hemorrhage"], ["scarring", "fibrosis"], ["hardening", "sclerosis"],
  ["wasting", "atrophy"], ["growth", "neoplasm"], ["bruise", "contusion"], ["tear", "rupture"],
  ["clot", "thrombus"], ["weakness", "paresis"], ["blockage", "stenosis"], ["redness", "erythema"],
  ["stone", "calculus"], ["itching", "pruritus"]];
def findings: [
  "imaging shows a lesion of the tissue", "the parenchyma is diffusely altered", "perfusion is reduced on both sides",
  "biopsy confirms the diagnosis", "laboratory values are within limits", "the capsule is tense on palpation"];
def advice: [
  "conservative management for several days", "oral medication with meals", "resection under local anaesthesia",
  "follow-up in the outpatient clinic", "a diet low in sodium", "admission for observation"];

# 0 .. n-1 out of three integers: each is added and the sum squared, modulo the largest prime below 2^26, so that no product
# leaves the 53 bits of a double.
def draw($n; $a; $b; $c): reduce ($a, $b, $c, 1, 2) as $x (271828; (. + $x * 7919) % 67108859 | (. * . + 314159) % 67108859)
  | (. / 64 | floor) % $n;

def pairs: range(organs | length) as $o | range(conditions | length) as $c
  | {$o, $c, organ: organs[$o], condition: conditions[$c], id: "d\($o * 14 + $c)", held: ((5 * $o + 3 * $c) % 4 == 0)};

# A report names its subject once or twice, one in two names another as what it must be told from, and one in four quotes the
# patient's own word for the complaint.
def document: . as $d
  | (if draw(2; .o; .c; 1) == 0 then " The \(.condition[1]) is of recent onset." else "" end) as $again
  | (if draw(2; .o; .c; 2) == 0
     then " Differential diagnosis: \(organs[draw(14; .o; .c; 3)][1]) \(conditions[draw(14; .o; .c; 4)][1])." else "" end) as $other
  | (if draw(4; .o; .c; 5) == 0 then " The patient reports \(.condition[0])." else "" end) as $quote
  | {doc_id: .id, text: ("Report on \(.organ[1]) \(.condition[1]): \(findings[draw(6; .o; .c; 6)]).\($again)\($other)\($quote)"
      + " Advised is \(advice[draw(6; .o; .c; 7)]).")};

def question($i): [
  "what helps against \(.condition[0]) of the \(.organ[0])?",
  "my \(.organ[0]) shows \(.condition[0]), what now?",
  "is \(.condition[0]) in the \(.organ[0]) dangerous?",
  "the doctor found \(.condition[0]) on my \(.organ[0])"][$i];

def asked($i): {query_id: "q\(.id[1:])-\($i)", query: question($i), relevant_doc_ids: [.id]};

# What a careless helper typed for a question: the form of a query, often with the wrong words.  Three words in seven he mostly
# translates; the others he mostly leaves as they are; and now and then he takes the word of something else.
def typed($word; $all; $i; $x):
  (if $i % 7 < 3 then [50, 70] else [25, 70] end) as $upto
  | if $x < $upto[0] then $word[1] elif $x < $upto[1] then $word[0] else $all[$x % ($all | length)][1] end;
def demonstration($i; $k): {prompt: (question($i) + "\nquery:"),
  completion: " \(typed(.organ; organs; .o; draw(100; .o * 14 + .c; $i; $k * 2 + 10))) \(
    typed(.condition; conditions; .c; draw(100; .o * 14 + .c; $i; $k * 2 + 11)))"};

if $part == "corpus" then pairs | document
elif $part == "train" then pairs | select(.held | not) | asked(range(4))
elif $part == "heldout" then pairs | select(.held) | asked(range(4))
elif $part == "demonstrations" then pairs | select(.held | not) | demonstration(range(4); range(3))
else error("part is corpus, train, heldout or demonstrations") end
