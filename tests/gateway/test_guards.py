"""Guards: facts that hold two questions apart, and rewordings that they let through."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import GUARDS, differences, rejected_by

APART = [
    ("number", "Is 20 mg of melatonin safe?", "Is 200 mg of melatonin safe?"),
    ("number", "What happened in 1914?", "What happened in 1915?"),
    ("number", "Which laptops cost under 60k?", "Which laptops cost under 600000?"),
    ("number", "How did World War I start?", "How did World War II start?"),
    ("number", "Can three people share an account?", "Can four people share an account?"),
    ("number", "How long are 2 weeks of notice in days?", "How long are 2 months of notice in days?"),
    ("unit", "How far is it in miles?", "How far is it in kilometres?"),
    ("unit", "What is 100 dollars worth?", "What is 100 euros worth?"),
    ("date", "Are you open on Monday?", "Are you open on Tuesday?"),
    ("date", "What is the weather in May?", "What is the weather in June?"),
    ("date", "Is a call at 9 am fine?", "Is a call at 9 pm fine?"),
    ("date", "Are you closed tomorrow?", "Are you closed?"),
    ("identifier", "Does it run on v3.11.2?", "Does it run on v3.11.4?"),
    ("identifier", "What does ORA-01017 mean?", "What does ORA-01018 mean?"),
    ("number", "What is two plus two?", "What is one plus two?"),
    ("number", "What is the sum of 150, 150 and 200?", "What is the sum of 150 and 200?"),
    ("number", "What was 1980's best film?", "What was the 1980s best film?"),
    ("accent", "What should I pack for Réunion?", "What should I pack for a reunion?"),
    ("opposite", "How do I start Apache and stop Nginx?", "How do I halt Apache and launch Nginx?"),
    ("order", "How far are drones allowed to fly from airports?", "How far are airports allowed to fly from drones?"),
    ("number", "Which is the best laptop from 30000 to 30000?", "Which is the best laptop from 30000 to 40000?"),
    ("order", "How far can I drive from Paris to Rome?", "How far can I drive from Rome to Paris?"),
    ("negation", "Why does someone answer my question?", "Why does no one answer my question?"),
    ("opposite", "Which are all the books of hers?", "Which are some of the books of hers?"),
    ("number", "How do I lose 5 kg in a month?", "How do I lose 1 kg in a month?"),
    ("number", "What would you do with a billion dollars?", "What would you do with 1 million dollars?"),
    ("number", "What was worn in the 1980's?", "What was worn in the 1970's?"),
    ("identifier", "Show me plan B", "Show me plan A"),
    ("identifier", "What is vitamin C good for?", "What is vitamin K good for?"),
    ("unit", "How much is $100 in yen?", "How much is €100 in yen?"),
    ("name", "What is Bitcoin good for?", "What is Ethereum good for?"),
    ("name", "Who won Euro 2024?", "Who won Copa 2024?"),
    ("name", "What can I buy for 100 USD?", "What can I buy for 100 ZAR?"),
    ("name", "Are 5 Yen enough?", "Are 5 Won enough?"),
    ("code", "What does str(s) return?", "What does repr(s) return?"),
    ("unit", "What can I buy for Rs. 500?", "What can I buy for USD 500?"),
    ("number", "What can I buy for Rs.500?", "What can I buy for Rs.5000?"),
    ("identifier", "Where is order 123456789012345678?", "Where is order 123456789012345679?"),
    ("sign", "What does the emoji 🙂 mean?", "What does the emoji 😡 mean?"),
    ("sign", "Which country's flag is 🇩🇪?", "Which country's flag is 🇫🇷?"),
    ("sign", "What does the symbol ♂ mean?", "What does the symbol ♀ mean?"),
    ("sign", "What is the derivative of x²?", "What is the derivative of x³?"),
    ("sign", "How do I write ½ cup in grams?", "How do I write ¼ cup in grams?"),
    ("sign", "How do I find rows with x > 5?", "How do I find rows with x < 5?"),
    ("sign", "How do I find rows with x > 5?", "How do I find rows with x >= 5?"),
    ("sign", "How do I find rows where price > 5?", "How do I find rows where price is 5?"),
    ("direction", "Which shops sold exactly 300 bicycles?", "Which shops sold at least 300 bicycles?"),
    ("direction", "Which shops sold over 300 bicycles?", "Which shops sold at most 300 bicycles?"),
    ("direction", "Can I take more than two tablets a day?", "Can I take no more than 2 tablets a day?"),
    ("number", "How much food does a dog of 10 years need?", "How much food does a dog of 10 kg need?"),
    ("number", "Which books suit a ten-year-old?", "Which books suit 10 children?"),
    ("number", "What does a loan for 5 years cost?", "What does a loan for 5 percent cost?"),
    ("number", "Who won Super Bowl XXV?", "Who won Super Bowl XXIV?"),
    ("question", "How much does a pizza cost?", "How many calories are in a pizza?"),
    ("question", "When to plant tomatoes?", "Where to plant tomatoes?"),
    ("number", "Why was I charged once for two orders?", "Why was I charged twice for one order?"),
    ("name", "Is a visa needed for US citizens visiting India?", "Do Indian citizens need a visa to visit the US?"),
    ("name", "What is the English word gift in German?", "What is the German word gift in English?"),
    ("unit", "How many watts are 5 mW?", "How many watts are 5 MW?"),
    ("unit", "How long does it take to load 5 Mb?", "How long does it take to load 5 MB?"),
    ("sign", "What is 5!", "What is 5?"),
    ("sign", "Explain the command cd ..", "Explain the command cd ."),
    ("sign", "Explain the command ls .", "Explain the command ls"),
    (
        "code",
        "What does this print?\nx = 0\nfor i in range(3):\n    x += 1\nprint(x)",
        "What does this print?\nx = 0\nfor i in range(3):\n    x += 1\n    print(x)",
    ),
    ("code", "What is printed?\nif x:\n\ta = 1\nb = 2", "What will be printed?\nif x:\n\ta = 1\n\tb = 2"),
    ("order", "How do you delete my data?", "How do I delete my data?"),
    ("order", "Which king succeeded Louis XIV of France?", "Which king did Louis XIV of France succeed?"),
    ("order", "Which customers do we owe over 500 euros?", "Which customers owe us over 500 euros?"),
    ("order", "Is my landlord allowed to keep a key to my flat?", "Am I allowed to keep a key to my landlord's flat?"),
    ("order", "Can you cancel my subscription?", "Can I cancel my subscription?"),
    ("order", "How do I redirect all traffic over HTTP to HTTPS?", "How is all HTTPS traffic redirected to HTTP?"),
    ("order", "How do I merge the main branch into develop?", "How can I get the develop branch merged into main?"),
    (
        "order",
        "How much fresh yeast replaces 20 g of dry yeast?",
        "How much dry yeast in place of 20 g of fresh yeast?",
    ),
    ("order", "Can I use margarine instead of butter?", "Is it possible to use butter in place of margarine?"),
    ("order", "Can butter be replaced by margarine?", "Can I replace margarine with butter?"),
    ("order", "How do I get red wine out of a white shirt?", "How do I remove white wine from a red shirt?"),
    ("order", "Which service depends on billing?", "Which service does billing depend on?"),
    ("order", "Which tables reference the users table?", "Which tables does the users table reference?"),
    ("order", "What calls the function parse?", "What does the function parse call?"),
    ("order", "Can a tenant evict a landlord?", "Can a tenant be evicted by a landlord?"),
    ("number", "Is a 5 year old car worth buying?", "Is a Mazda 5 car worth buying?"),
    ("number", "Should a 7 year old go to bed early?", "Should a child go to bed at 7?"),
    ("number", "What do people under 18 years old need?", "What does a child of 18 need?"),
    ("order", "Hello, can a cat infect a dog?", "May a dog infect its own cat?"),
    ("order", "Can a cyclist hit a car?", "Can a cyclist get hit by a car?"),
    ("order", "Are rabbits eaten by snakes in Australia?", "In Australia, do rabbits eat snakes?"),
    (
        "order",
        "Is there a bus for Prague station from Vienna station?",
        "Which bus reaches Vienna station from Prague station?",
    ),
    ("unit", "What is 350 F in kelvin?", "What is 350 °C in kelvin?"),
    ("unit", "Summarise Hamlet in five words.", "Summarise Hamlet in five short sentences."),
    ("number", "Can one desk have two phones?", "Can two desks have one phone?"),
    ("number", "Who was Louis XIV?", "Who was Louis XVI?"),
    ("order", "What percentage of 240 is 60?", "What percentage of 60 is 240?"),
    ("order", "How much is 30 percent of 90?", "What percent of 30 is 90?"),
    ("order", "Calculate 12% of 60", "What is 12 as a percentage of 60?"),
    ("order", "What is fifteen percent of 80?", "15 is how much percent of 80?"),
    ("order", "What is 9 % of 40?", "What is the percentage of 40 that 9 is?"),
    ("order", "vienna venice first train", "When does the first train from Venice to Vienna leave?"),
    ("order", "How do I cancel my stay at a hotel?", "How can a hotel cancel my stay?"),
    (
        "order",
        "May employees forbid their employer to talk of pay?",
        "May an employer forbid employees to talk of pay?",
    ),
    ("sign", "What is 12 + 4?", "What is 12 - 4?"),
    ("sign", "What is 10 / 2?", "What is 2 / 10?"),
    ("number", "What is 2 + 2?", "What is 2 + 2 + 2?"),
    ("sign", "Is it good that my balance is +200?", "Is it good that my balance is -200?"),
    ("sign", "How cold is -40 degrees?", "How cold is 40 degrees?"),
    ("sign", "What happened on 11/9/2001?", "What happened on 9/11/2001?"),
    ("sign", "What is 3:45 as a fraction?", "What is 45:3 as a fraction?"),
    ("number", "What is 5,1 kg in pounds?", "What is 1,5 kg in pounds?"),
    ("sign", "Who is O+ blood for?", "Who is O- blood for?"),
    ("sign", "What does && do in bash?", "What does || do in bash?"),
    ("sign", "What does :) mean?", "What does :( mean?"),
    ("accent", "What does año mean?", "What does ano mean?"),
    ("accent", "Was heißt schön auf Englisch?", "Was heißt schon auf Englisch?"),
    ("quote", 'What does "break a leg" mean?', 'What does "pull strings" mean?'),
    ("code", "What does `git reset --hard` do?", "What does `git reset --soft` do?"),
    ("code", "Why does str.split() fail?", "Why does str.join() fail?"),
    ("name", "What is the capital of France?", "What is the capital of Spain?"),
    ("name", "how do i sort a list in python", "how do i sort a list in java"),
    ("name", "Who is Ada Lovelace?", "Who is Grace Hopper?"),
    ("negation", "Which foods contain gluten?", "Which foods do not contain gluten?"),
    ("negation", "Can I log in with a password?", "Can I log in without a password?"),
    ("negation", "Is it sugar?", "Is it sugar-free?"),
    ("opposite", "How do I enable the firewall?", "How do I disable the firewall?"),
    ("opposite", "Is tipping allowed?", "Is tipping forbidden?"),
    ("opposite", "Are taxes included?", "Are taxes excluded?"),
    ("opposite", "Which shops are open?", "Which shops are closed?"),
    ("opposite", "How do I encrypt a disk?", "How do I decrypt a disk?"),
    ("opposite", "Is he responsible?", "Is he irresponsible?"),
    ("opposite", "What is the maximum size?", "What is the minimum size?"),
    ("direction", "What should I eat before a run?", "What should I eat after a run?"),
    ("direction", "Is it safe during pregnancy?", "Is it safe after pregnancy?"),
    ("opposite", "How much leave do full-time staff get?", "How much leave do part-time staff get?"),
    ("order", "How do I convert feet to metres?", "How do I convert metres to feet?"),
    ("order", "Cheap trains from Bern to Basel?", "Cheap trains to Bern from Basel?"),
    ("order", "Is tin heavier than lead?", "Is lead heavier than tin?"),
    ("order", "Can a tenant sue a landlord?", "Can a landlord sue a tenant?"),
    ("order", "How do I turn a PNG into a JPEG?", "How can I convert a JPEG to PNG?"),
    ("order", "png -> jpg", "jpg -> png"),
    ("number", "What does a 5-star hotel offer?", "What does a 4-star hotel offer?"),
    ("identifier", "Is 4-aminophenol toxic?", "Is 4-nitrophenol toxic?"),
    ("identifier", "Does the PS4 have an HDMI port?", "Does the PS5 have an HDMI port?"),
    ("sign", "dose for a child >12", "dose for a child below 12"),
    ("sign", "loan <5000", "loan above 5000"),
    ("direction", "Is a fee due for less than 5 days?", "Is a fee due for over 5 days?"),
    ("sign", "What does -> mean in PHP?", "What does => mean in PHP?"),
    ("sign", "What does a -> b mean in Rust?", "What does a => b mean in Rust?"),
    ("sign", "What does p->next do in C?", "What does p.next do in C?"),
    ("order", "How do I assign a role to a team member?", "How can I assign a member to a role?"),
    ("order", "May I invite a colleague?", "May a colleague invite me?"),
    ("opposite", "What is the quickest way to dry paint?", "How do I dry paint slowly?"),
    ("opposite", "How do I reset my password?", "How do I change my password?"),
    ("opposite", "Do heels make you taller?", "Do heels make you look shorter?"),
    ("question", "When was the bridge built?", "Why was the bridge built?"),
    ("question", "How many tickets are left?", "Where are tickets left?"),
]

TOGETHER = [
    ("Why does nobody answer my question?", "Why will no one answer my question?"),
    ("What are the best books of all time?", "What are some of the best books ever written?"),
    ("How do you bake bread?", "How do I bake bread?"),
    ("Can you tell me how I reset my password?", "How do I reset my password?"),
    ("Can you help me to cancel my subscription?", "How do I cancel my subscription?"),
    ("Am I allowed to bring my dog to the office?", "Is it allowed to bring my dog to the office?"),
    ("Which apps do we need for the trip?", "Which apps would help us on the trip?"),
    ("How heavy is 5 KG in pounds?", "How heavy is 5 kg in pounds?"),
    ("Is SQL a language?", "Is sql a language?"),
    ("What goes wrong here?\nfor i in x:\n    y(i)", "What is wrong here?\nfor i in x:\n    y(i)\n"),
    ("How much is 30 percent of 90?", "What is 30% of 90?"),
    ("What percentage of 40 is 9?", "What is 9 as a percentage of 40?"),
    ("How do I keep mice out of the garage?", "How do I prevent mice from living in the garage?"),
    ("How do I reset my password?", "What is the best way to reset a password?"),
    ("How do I reset it -- please?", "How do I reset it... please?"),
    ("Is a call within 10-12 days fine?", "Is a call fine within 10-12 days?"),
    ("What is vitamin C good for?", "what is vitamin c good for"),
    ("Is $5 enough for a tea?", "Are 5 dollars enough for a tea?"),
    ("Is 20 °C warm?", "Are 20 °C warm?"),
    ("Is the new Rs. 500 note real?", "Is the new ₹500 note real?"),
    ("Which laptop is best under INR 60K?", "Which is the best laptop under Rs.60000?"),
    ("Why were Rs 500 notes banned in May?", "Why were the notes of 500 rupees banned in May?"),
    ("How does one get UK-citizenship?", "How do I get UK citizenship?"),
    ("How should we send HTTP to HTTPS?", "How do I send my HTTP to HTTPS?"),
    ("Is the 3rd floor open?", "Is the third floor open?"),
    ("How far is a marathon in km?", "How many kilometres is a marathon?"),
    ("Can I cancel within 2 weeks?", "Can I cancel within 14 days?"),
    ("Do I have 24 hours to reply?", "Do I have a reply time of 1 day?"),
    ("Which laptops cost under 60k?", "Which laptops are below 60,000?"),
    ("How do I install Postgres?", "How can I install PostgreSQL?"),
    ("Do Americans need a visa?", "Is a visa needed by US citizens?"),
    ("Could you tell us the price?", "What is the price?"),
    ("What is the difference between tea and coffee?", "What is the difference between coffee and tea?"),
    ("Is tin heavier than lead?", "Is lead lighter than tin?"),
    ("How do I copy files from A1 to B2?", "How do I copy files to B2 from A1?"),
    ("What can I do if I don't remember my PIN?", "What can I do if I forgot my PIN?"),
    ("Which is the best college for law in Pune?", "Which is the best college in Pune for law?"),
    ("Why is the sky blue?", "What is the reason that the sky is blue?"),
    ("From when are you open on Sundays?", "On Sunday, what time do you open?"),
    ("How do I convert a PNG to a JPEG?", "How can I turn a PNG into a JPEG?"),
    ("How do I convert a PNG to a JPEG?", "convert png -> jpg"),
    ("Can I cancel without a fee?", "cancel w/o fee"),
    ("Do I declare cash of more than 10,000 euros?", "declare cash >10k EUR"),
    ("What does a deposit of 12 months yield?", "12-month deposit yield"),
    ("How do I get a refund?", "Can you tell me how to get a refund?"),
    ("May I invite a colleague?", "Would you let me invite a colleague?"),
    ('What does "idempotent" mean?', "What is the meaning of idempotent?"),
    ("Is tuna good for cats?", "tuna cat yes or no"),
    ("What should a ten-year-old weigh?", "weight of a child aged 10"),
    ("Which shops sold at least 300 bicycles?", "shops >= 300 bicycles sold"),
    ("Which shops sold no more than 300 bicycles?", "shops <= 300 bicycles sold"),
    ("Which planets have more than 20 moons?", "planets > 20 moons"),
    ("In March, which shop sold most?", "Which shop sold most in March?"),
    ("How many days are there from 1 March to 15 May?", "days from 1 march to 15 may"),
    ("When does the exchange open in New York?", "exchange opening hours NY"),
    ("How do I get from Vienna to Bratislava by boat?", "How can I travel from Vienna to Bratislava by boat?"),
    ("How do I get stains from a white shirt made of wool?", "How do I get stains out of a white wool shirt?"),
    ("How do I reset the PIN if I forgot it?", "I forgot the PIN; how can I reset it?"),
    ("How does the heart pump blood to the lungs?", "How is blood pumped by the heart to the lungs?"),
    ("How do I remove an unused image?", "How can an unused image be removed?"),
    (
        "How do I get the post without access to my mail?",
        "How do I get the post if I no longer have access to my mail?",
    ),
    ("What do I do with an expired passport?", "What do I do with a passport that has expired?"),
    ("How do iPhones get viruses?", "How does an iphone get a virus?"),
    ("Who succeeded Louis XIV?", "who was the successor of louis xiv"),
    ("Who succeeded Louis XIV?", "Who was the successor of Louis 14?"),
    ("Can I use margarine instead of butter?", "Can margarine replace butter?"),
    ("Can butter be replaced by margarine?", "May I use margarine in place of butter?"),
    ("Do US citizens need a visa for India?", "Is an Indian visa needed by citizens of the US?"),
    ("How do I redirect HTTP traffic to HTTPS?", "How is HTTP redirected to HTTPS?"),
    ("How do I plan a 4 day trip to Goa?", "Can you suggest how to plan a Goa trip for 4 days?"),
    ("How do I make a blog on the Quora iPhone app?", "How do I make a blog on the iPhone Quora app?"),
    ("What is needed to graduate from a Texas high school?", "What do I need to graduate from high school in Texas?"),
    ("What is the way to divide fractions by a whole number?", "How do I divide a fraction by a whole number?"),
    ("How can a song in C major be transposed to G major?", "How do I transpose a song from C major to G major?"),
    ("How many customers were gained by us in winter?", "How many customers did we gain in winter?"),
    ("When should I switch from wool hats to straw hats?", "When should I switch my wool hats to straw hats?"),
    ("Sunscreen should be put on how long before sports?", "How long before sports should I put on sunscreen?"),
    ("What is the English meaning of the German word gift?", "What does the German word gift mean in English?"),
    ("How do I find files larger than 100 MB?", "find files >100MB"),
    ("How do I select customers with at least 3 orders?", "select customers having 3+ orders"),
    ("What was our revenue in March?", "What revenue did we have during March?"),
    ("Which countries border France?", "Which countries does France border?"),
    ("Can a tenant evict a landlord?", "Can a landlord be evicted by a tenant?"),
    ("What should my son of ten weigh?", "What should a 10 year old weigh?"),
    ("Which is better, French or German cars?", "Which is better, German or French cars?"),
    ("Is it cheap to fly from Paris or London?", "Is it cheap to fly from London or Paris?"),
    ("Do I pay tax as a student?", "Do students pay tax?"),
    ("Can I play games on a Mac?", "Can a Mac play games?"),
    ("Instead of hiring someone, how do I replace a pane?", "How do I replace a pane instead of hiring someone?"),
    ("What is the VIX?", "What is the volatility index?"),
    ("Who was Louis XIV?", "Who was Louis the fourteenth?"),
    ("How do I find rows where x > 5?", "How do I find rows where x>5?"),
    ("laptops <= $100", "laptops at most $100"),
    ("Which laptops have >= 16 GB of RAM?", "Which laptops have 16 GB of RAM or more?"),
    ("Is 8+ hours of sleep fine?", "Is at least 8 hours of sleep fine?"),
    ("What do you say of a fever over 38?", "What do you say of a fever of at least 38?"),
    ("How do I remove stains from a carpet?", "remove carpet stains"),
    ("How long do I cook rice?", "How long should rice cook?"),
    ("How should I invest 1,000 dollars?", "How should one invest 1000 dollars?"),
    ("Is the iPhone 14 or the iPhone 15 better?", "Is the iPhone 15 or the iPhone 14 better?"),
    ("Hotel in Vienna from 3 June to 10 July", "Vienna hotel June 3 to July 10"),
    ("At 16 may teenagers work?", "May teenagers work at 16?"),
    ("In Rome, is rain in autumn common?", "In autumn, is rain in Rome common?"),
]

DOUBTED = [
    (
        "number",
        "I have 3 cats and live by a busy road. May they roam at night?",
        "Should pets stay indoors after dark?",
    ),
    ("date", "Since Monday my knee has hurt on the stairs. Which doctor do I see?", "Who treats joint pain?"),
    ("name", "In Peru they told me to boil it. How long until it can be drunk?", "How is water from a well made safe?"),
    ("negation", "I've never made bread. Where does one begin?", "What does a first loaf take, step by step?"),
    (
        "code",
        "Someone sent me a .docx and my tablet shows nothing. Help?",
        "How are Word documents opened on mobile devices?",
    ),
    ("quote", 'My son said "sus" at dinner. Is that rude?', "Does that slang of young people offend anybody?"),
    (
        "identifier",
        "Our Q7 rattles at speed. Does that need a garage?",
        "Is noise from a car's chassis dangerous to drive with?",
    ),
    ("sign", "My cat :-( won't eat what I give her. What now?", "Which food is liked by a picky kitten?"),
]
OF_BOTH = [
    ("number", "I have 3 cats. May they roam the road at night?", "Should all of 5 pets stay indoors after dark?"),
    (
        "date",
        "Since Monday my knee has hurt on the stairs. Which doctor?",
        "Who treats joint pain that began on Friday?",
    ),
    ("quote", 'My son said "sus" at dinner. Is that rude?', 'Does the slang word "mid" offend anybody at school?'),
    (
        "unit",
        "What does a litre of milk cost at the market in Rome?",
        "How expensive is dairy by the gallon over there?",
    ),
    ("name", "My aunt from Lima keeps bees. What do they eat?", "On which food do hives in Oslo get through frost?"),
    ("opposite", "How do I make the font bigger in this editor?", "Which key lets me decrease letters on the screen?"),
    ("direction", "Can I take aspirin before surgery?", "Is it OK for me to have painkillers after an operation?"),
    ("question", "When was the old bridge over the river built?", "Why did people put up that crossing at this spot?"),
    ("number", "Wie hoch ist die Strafe bei 30 km/h zu viel?", "Welche Strafe bekomme ich, wenn ich zu schnell fahre?"),
    ("date", "Is the museum still open at 9 pm on Wednesdays?", "Does the museum open its doors on Fridays at 9 pm?"),
]


@pytest.mark.parametrize(("guard", "asked", "stored"), DOUBTED)
def test_what_may_be_told_by_the_way_is_a_doubt(guard: str, asked: str, stored: str) -> None:
    for found in (differences(asked, stored), differences(stored, asked)):
        assert found.refusing(verified=False) == guard
        assert found.refusing(verified=True) is None
        assert (guard, False) in found.found


@pytest.mark.parametrize(("guard", "asked", "stored"), OF_BOTH)
def test_facts_of_both_that_differ_are_no_matter_of_words(guard: str, asked: str, stored: str) -> None:
    assert guard in [name for name, firm in differences(asked, stored).found if firm]
    assert guard in [name for name, firm in differences(stored, asked).found if firm]


@pytest.mark.parametrize(("guard", "asked", "stored"), APART)
def test_where_two_are_worded_alike_every_guard_decides(guard: str, asked: str, stored: str) -> None:
    found = differences(asked, stored)

    assert found.refusing(verified=True) == guard
    assert all(firm for _, firm in found.found)


@pytest.mark.parametrize(("guard", "asked", "stored"), APART)
def test_a_fact_that_differs_holds_questions_apart(guard: str, asked: str, stored: str) -> None:
    assert rejected_by(asked, stored) == guard
    assert rejected_by(stored, asked) == guard


@pytest.mark.parametrize(("asked", "stored"), TOGETHER)
def test_a_rewording_passes(asked: str, stored: str) -> None:
    assert rejected_by(asked, stored) is None
    assert rejected_by(stored, asked) is None


def test_each_guard_is_shown_above() -> None:
    assert {guard for guard, _, _ in APART} == set(GUARDS)


@given(st.text(max_size=200))
def test_any_text_is_itself(text: str) -> None:
    assert rejected_by(text, text) is None
    assert Facts(text).quantities == Facts(text).quantities


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_can_be_compared(asked: str, stored: str) -> None:
    assert rejected_by(asked, stored) in (None, *GUARDS)


@given(st.text(max_size=80), st.text(max_size=80))
def test_it_does_not_matter_which_of_two_was_asked_first(one: str, other: str) -> None:
    assert differences(one, other) == differences(other, one)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parent / "data").glob("question-pairs*.jsonl")), ids=lambda f: f.stem
)
def test_nor_does_it_for_questions_that_people_ask(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]

    assert [row for row in rows if differences(row["a"], row["b"]) != differences(row["b"], row["a"])] == []


def test_a_long_text_is_compared_in_linear_time() -> None:
    text = "the quick brown fox jumps over 13 lazy dogs from Rome to Oslo, doesn't it? " * 1300

    assert rejected_by(text, text + " Never!") == "negation"


def test_long_texts_of_the_same_words_are_compared_as_fast() -> None:
    words = [f"word{'abcdefghij'[at % 10]}{'klmnopqrst'[at // 10 % 10]}" * (1 + at // 100) for at in range(1000)]
    text = f"Can it be {' '.join(words)}?"
    turned = f"Can it be {' '.join(reversed(words))}?"

    assert rejected_by(text * 10, turned * 10) in (None, *GUARDS)


def test_many_clauses_many_ways_and_a_word_without_end_are_compared_as_fast() -> None:
    commas = "Can a cat see a dog" + " ," * 50_000
    word = "a" * 65_536
    ways = "How do I get " + "from to into " * 8_000

    assert rejected_by(f"{commas}?", f"May a dog, {commas}?") in (None, *GUARDS)
    assert rejected_by(f"What is {word}?", f"What is {word} now?") in (None, *GUARDS)
    assert rejected_by(f"{ways} Rome", f"{ways} Oslo") in (None, *GUARDS)
    for many in ("111," * 16_000, "1" * 65_536, "1" + " " * 65_536):
        assert rejected_by(f"What is {many}?", f"What is {many} now?") in (None, *GUARDS)


@pytest.mark.parametrize("odd", ["xıı. yüzyıl", "XİV. Lui kimdir?", "Steps: ❶ Open the menu.", "፩ 2", "1,2.3,", "²"])
def test_odd_numbers_can_be_compared(odd: str) -> None:
    assert rejected_by(odd, "anything") in (None, *GUARDS)
