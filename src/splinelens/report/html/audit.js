// The figures of an audit need nothing beyond what all pages share.
Page.start({});
