//! Templates of calls, and the dice that fill them.
//!
//! ```text
//! word          as it is, in any case          [a b|c]   nothing, or one of the branches
//! $slot         arguments by `slots`           (a b|c)   one of the branches
//! item+         one to four times
//! ```

use stdx::Rng;

use crate::slots::Slots;

/// A call: its name and arguments.
pub(crate) type Call = Vec<Vec<u8>>;

/// A parsed template.
#[derive(Debug)]
pub(crate) enum Node {
    Word(&'static str),
    Slot(&'static str),
    Many(Box<Node>),
    Maybe(Box<Node>),
    Choice(Vec<Vec<Node>>),
}

/// Reads a template.
pub(crate) fn parse(template: &'static str) -> Vec<Node> {
    let mut rest = template;
    let mut branches = parse_branches(&mut rest);
    assert!(rest.is_empty() && branches.len() == 1, "a bracket is missing in `{template}`");
    branches.remove(0)
}

fn parse_branches(rest: &mut &'static str) -> Vec<Vec<Node>> {
    let mut branches = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return branches };
        let branch = branches.last_mut().expect("there is always one");
        match first {
            ')' | ']' => return branches,
            '|' => branches.push(Vec::new()),
            '+' => {
                let repeated = branch.pop().expect("something stands before a `+`");
                branch.push(Node::Many(Box::new(repeated)));
            }
            '(' | '[' => {
                *rest = &rest[1..];
                let inner = Node::Choice(parse_branches(rest));
                let maybe = first == '[';
                branch.push(if maybe { Node::Maybe(Box::new(inner)) } else { inner });
            }
            _ => {
                let end = rest.find([' ', '(', ')', '[', ']', '|', '+', '\n']);
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                branch.push(word.strip_prefix('$').map_or(Node::Word(word), Node::Slot));
                *rest = after;
                continue;
            }
        }
        *rest = &rest[1..];
    }
}

/// Fills a template.
pub(crate) fn fill(nodes: &[Node], slots: &mut Slots, call: &mut Call) {
    for node in nodes {
        match node {
            Node::Word(word) => call.push(any_case(word, &mut slots.rng)),
            Node::Slot(name) => slots.fill(name, call),
            Node::Maybe(inner) if slots.rng.one_in(3) => fill_one(inner, slots, call),
            Node::Maybe(_) => {}
            Node::Many(inner) => {
                // Mostly few.
                let times = 1 + slots.rng.below(4).min(slots.rng.below(4));
                (0..times).for_each(|_| fill_one(inner, slots, call));
            }
            Node::Choice(branches) => {
                let chosen = slots.rng.below(branches.len() as u64) as usize;
                fill(&branches[chosen], slots, call);
            }
        }
    }
}

fn fill_one(node: &Node, slots: &mut Slots, call: &mut Call) {
    fill(std::slice::from_ref(node), slots, call);
}

/// The word as the table has it, or louder.
pub(crate) fn any_case(word: &str, rng: &mut Rng) -> Vec<u8> {
    let text = if rng.one_in(4) { word.to_uppercase() } else { word.to_owned() };
    text.into_bytes()
}
