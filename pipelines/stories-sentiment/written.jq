# Beginnings of stories written for this experiment, in the manner of the model's: 12 heroes in 8 places, glad, plain and sad.
#
#   jq -nc -f written.jq

def heroes: [
  ["a little girl named Anna", "Anna", "she", "her"], ["a boy named Peter", "Peter", "he", "his"],
  ["a small frog named Hop", "Hop", "he", "his"], ["a fox named Rusty", "Rusty", "he", "his"],
  ["an old woman named Rose", "Rose", "she", "her"], ["a farmer named Joe", "Joe", "he", "his"],
  ["a white goat named Nelly", "Nelly", "she", "her"], ["a young bear named Bruno", "Bruno", "he", "his"],
  ["a little boy named Paul", "Paul", "he", "his"], ["a bee named Zuzu", "Zuzu", "she", "her"],
  ["a girl named Clara", "Clara", "she", "her"], ["a yellow duck named Dot", "Dot", "she", "her"]];
def scene($i): . as [$who, $name, $they, $their] | [
  "\($name) loved to sing and dance with \($their) friends.",
  "One day, \($name) found a big box under a tree.",
  "\($name) lived in a small house near the sea.",
  "Every morning, \($name) walked to the lake to look at the water.",
  "One day, \($name) lost \($their) red ball and was very sad.",
  "\($name) was afraid of the dark and could not sleep.",
  "One day, it rained and \($name) was cold and wet.",
  "\($name) had a toy car, but one wheel was broken."][$i];

heroes[] as $hero | range(8) as $i | {prompt: "Once upon a time, there was \($hero[0]). \($hero | scene($i))"}
