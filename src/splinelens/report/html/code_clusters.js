// The figure needs nothing beyond what all pages share.
Page.start({});
