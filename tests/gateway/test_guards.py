"""Guards: facts that hold two questions apart, and rewordings that they let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import GUARDS, rejected_by

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
    ("identifier", "Show me plan B", "Show me plan A"),
    ("identifier", "What is vitamin C good for?", "What is vitamin K good for?"),
    ("unit", "How much is $100 in yen?", "How much is €100 in yen?"),
    ("identifier", "Where is order 123456789012345678?", "Where is order 123456789012345679?"),
    ("sign", "What does the emoji 🙂 mean?", "What does the emoji 😡 mean?"),
    ("sign", "Which country's flag is 🇩🇪?", "Which country's flag is 🇫🇷?"),
    ("sign", "What does the symbol ♂ mean?", "What does the symbol ♀ mean?"),
    ("sign", "What is the derivative of x²?", "What is the derivative of x³?"),
    ("sign", "How do I write ½ cup in grams?", "How do I write ¼ cup in grams?"),
    ("sign", "How do I find rows with x > 5?", "How do I find rows with x < 5?"),
    ("sign", "What is 12 + 4?", "What is 12 - 4?"),
    ("sign", "What is 10 / 2?", "What is 2 / 10?"),
    ("number", "What is 2 + 2?", "What is 2 + 2 + 2?"),
    ("sign", "Is it good that my balance is +200?", "Is it good that my balance is -200?"),
    ("sign", "How cold is -40 degrees?", "How cold is 40 degrees?"),
    ("sign", "What happened on 11/9/2001?", "What happened on 9/11/2001?"),
    ("sign", "What is 3:45 as a fraction?", "What is 45:3 as a fraction?"),
    ("sign", "What is 5,1 kg in pounds?", "What is 1,5 kg in pounds?"),
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
    ("order", "How do I assign a role to a team member?", "How can I assign a member to a role?"),
    ("order", "May I invite a colleague?", "May a colleague invite me?"),
    ("opposite", "What is the quickest way to dry paint?", "How do I dry paint slowly?"),
    ("opposite", "How do I reset my password?", "How do I change my password?"),
    ("opposite", "Do heels make you taller?", "Do heels make you look shorter?"),
    ("question", "When was the bridge built?", "Why was the bridge built?"),
    ("question", "How many tickets are left?", "Where are tickets left?"),
]

TOGETHER = [
    ("How do I reset my password?", "What is the best way to reset a password?"),
    ("How do I reset it -- please?", "How do I reset it... please?"),
    ("Is a call within 10-12 days fine?", "Is a call fine within 10-12 days?"),
    ("What is vitamin C good for?", "what is vitamin c good for"),
    ("Is $5 enough for a tea?", "Are 5 dollars enough for a tea?"),
    ("Is 20 °C warm?", "Are 20 °C warm?"),
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
    ("How do I get a refund?", "Can you tell me how to get a refund?"),
    ("May I invite a colleague?", "Would you let me invite a colleague?"),
    ('What does "idempotent" mean?', "What is the meaning of idempotent?"),
]


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


def test_a_long_text_is_compared_in_linear_time() -> None:
    text = "the quick brown fox jumps over 13 lazy dogs from Rome to Oslo, doesn't it? " * 1300

    assert rejected_by(text, text + " Never!") == "negation"
