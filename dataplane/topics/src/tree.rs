//! A tree of levels for each space: nodes of 48 bytes, found by their way through one table.
//!
//! Owns nodes, their texts and the table; what else hangs on a node (`L`, 20 bytes) is its user's, who also says when a node
//! is no longer wanted. A node is what it is by its parent and its text, compared in full: hashes only say where to look.
//!
//! ```text
//!   node 48 = | parent 4 | hash of the way 4 | links 20 | text 20 |        two of three lie in one cache line
//! ```

use crate::chunks::{Chunks, NONE, Value};
use crate::hash::{Hasher, Key, step};
use crate::table::Table;
use crate::text::{Text, Texts};

/// A node and the hash of the way to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) node: u32,
    pub(crate) way: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Node<L> {
    /// `NONE`: the root of a space, whose text is the space's four bytes.
    parent: u32,
    way: u32,
    links: L,
    text: Text,
}

const _: () = assert!(size_of::<Node<[u32; 5]>>() == 48);

impl<L: Default> Value for Node<L> {
    fn free(next: u32) -> Self {
        Self { parent: next, way: 0, links: L::default(), text: Text::EMPTY }
    }

    fn next_free(&self) -> u32 {
        self.parent
    }
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree<L> {
    nodes: Chunks<Node<L>>,
    texts: Texts,
    table: Table,
    hasher: Hasher,
    /// Nodes and blocks of text at most.
    place_count_max: usize,
}

impl<L: Default> Tree<L> {
    pub(crate) fn new(place_count_max: usize, key: Key) -> Self {
        Self {
            nodes: Chunks::new(),
            texts: Texts::new(),
            table: Table::new(place_count_max),
            hasher: Hasher::new(key),
            place_count_max,
        }
    }

    pub(crate) const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Nodes and blocks of text in use.
    pub(crate) const fn len(&self) -> usize {
        self.nodes.len() + self.texts.len()
    }

    /// How many more there may be.
    pub(crate) const fn room(&self) -> usize {
        self.place_count_max - self.len()
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.bytes() + self.texts.bytes() + self.table.bytes()
    }

    /// The root of a space.
    #[inline]
    pub(crate) fn root(&self, space: u32) -> Option<Found> {
        self.at(NONE, self.hasher.root(space), &space.to_le_bytes())
    }

    /// The child of that text, whose hash the caller has.
    #[inline]
    pub(crate) fn child(&self, parent: Found, level: u64, text: &[u8]) -> Option<Found> {
        self.at(parent.node, step(parent.way, level), text)
    }

    /// The node that is likely found by a way, without looking at it: [`Tree::is_child`] knows.
    #[inline]
    pub(crate) fn likely(&self, way: u32) -> u32 {
        self.table.likely(way)
    }

    /// Whether a node is the child of that text.
    #[inline]
    pub(crate) fn is_child(&self, node: u32, parent: u32, text: &[u8]) -> bool {
        let node = &self.nodes[node];
        node.parent == parent && self.texts.is(&node.text, text)
    }

    /// The child that a way leads to.
    #[inline]
    pub(crate) fn at(&self, parent: u32, way: u32, text: &[u8]) -> Option<Found> {
        self.table.find(way, |node| self.is_child(node, parent, text)).map(|node| Found { node, way })
    }

    /// Adds the root of a space. There must be room.
    pub(crate) fn insert_root(&mut self, space: u32) -> Found {
        let found = self.insert(NONE, self.hasher.root(space), &space.to_le_bytes());
        self.table.insert(found.way, found.node);
        found
    }

    /// Adds a child. There must be room.
    pub(crate) fn insert_child(&mut self, parent: Found, level: u64, text: &[u8]) -> Found {
        let found = self.insert(parent.node, step(parent.way, level), text);
        self.table.insert(found.way, found.node);
        found
    }

    /// Adds a child that its parent's links lead to, and nothing else. There must be room.
    pub(crate) fn insert_linked(&mut self, parent: Found, level: u64, text: &[u8]) -> Found {
        self.insert(parent.node, step(parent.way, level), text)
    }

    fn insert(&mut self, parent: u32, way: u32, text: &[u8]) -> Found {
        assert!(self.room() > Texts::blocks_of(text.len()), "whoever adds a node has looked whether there is room");
        let text = self.texts.keep(text);
        Found { node: self.nodes.insert(Node { parent, way, links: L::default(), text }), way }
    }

    /// Takes a node away that was found by its way.
    pub(crate) fn remove(&mut self, node: u32) {
        self.table.remove(self.nodes[node].way, node);
        self.remove_linked(node);
    }

    /// Takes a node away that its parent's links led to.
    pub(crate) fn remove_linked(&mut self, node: u32) {
        let gone = self.nodes.remove(node);
        self.texts.free(gone.text);
    }

    /// A node's parent, `NONE` for a root.
    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.nodes[node].parent
    }

    /// A node with the hash of its way.
    pub(crate) fn found(&self, node: u32) -> Found {
        Found { node, way: self.nodes[node].way }
    }

    #[inline]
    pub(crate) fn links(&self, node: u32) -> &L {
        &self.nodes[node].links
    }

    #[inline]
    pub(crate) fn links_mut(&mut self, node: u32) -> &mut L {
        &mut self.nodes[node].links
    }

    /// The texts, for who keeps more of them.
    pub(crate) const fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The texts, for who keeps more of them. There must be room.
    pub(crate) const fn texts_mut(&mut self) -> &mut Texts {
        &mut self.texts
    }

    /// The parts of a node's text.
    pub(crate) fn text(&self, node: u32) -> impl Iterator<Item = &[u8]> {
        self.texts.parts(&self.nodes[node].text)
    }

    /// Writes the levels from the root down to `node` behind what is in `out`, with `/` between them. Returns the space.
    pub(crate) fn path(&self, node: u32, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        let mut at = node;
        // Backwards, each level reversed, then all of it once more.
        while self.nodes[at].parent != NONE {
            if at != node {
                out.push(b'/');
            }
            let level = out.len();
            self.text(at).for_each(|part| out.extend_from_slice(part));
            out[level..].reverse();
            at = self.nodes[at].parent;
        }
        out[start..].reverse();
        let mut space = [0; 4];
        self.text(at).zip([&mut space]).for_each(|(part, space)| space.copy_from_slice(part));
        u32::from_le_bytes(space)
    }
}
